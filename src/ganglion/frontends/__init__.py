"""Networks from elsewhere: one file each turns a foreign format into a Model."""
