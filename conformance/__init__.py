"""A conformance suite for OCI runtimes: see README.md. It knows no runtime but by its command line."""
