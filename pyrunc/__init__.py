"""pyrunc: an OCI container runtime that compiles config.json to a program of system calls."""

__version__ = "0.1.0"

# The runtime specification that this code implements, and the oldest it accepts.
OCI_VERSION = "1.3.0"
OCI_VERSION_MIN = "1.0.0"
