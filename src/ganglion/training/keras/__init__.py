"""Live Keras networks and the settings they carry."""
