"""The one exception a user of any package here is meant to read."""


class UserError(ValueError):
    """A mistake the user can repair: a wrong argument, file, or an unwritable place.

    The message is a complete sentence that names the argument or file, its value, what is allowed and the
    remedy; `reprokit.cli.run` prints it alone and ends with exit code 2.
    """
