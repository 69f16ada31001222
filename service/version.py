"""The version of nanocxr, for the package, the image and reports."""

VERSION = "0.1.0"
