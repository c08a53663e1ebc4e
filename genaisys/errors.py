"""The one kind of failure that people are shown."""


class GenaisysError(Exception):
    """A failure that the user can act on.

    Its message is one plain line: what is wrong, and what to do. The command line and the app print it as it is;
    any other exception is a defect of ours. Subclasses live beside the code that raises them.
    """
