"""A program that a test starts in another process."""


def twice(values, factor):
    """Return a call that talks, as libraries do, and multiplies."""
    print("a library talks")

    def call():
        print("again")
        return {"values": values * factor}

    return call
