"""The version, in a module of its own: the package itself is above the layers that want to know."""

__version__ = "0.1.0"
