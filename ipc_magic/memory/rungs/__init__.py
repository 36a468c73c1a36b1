"""The mechanisms, each in a file of its own, behind the interface in `base`."""
