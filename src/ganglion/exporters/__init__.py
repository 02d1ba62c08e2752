"""Networks for other runtimes: a Model written as a file that they read."""
