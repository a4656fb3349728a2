"""The checks, one module for each subject. A check is a function that takes a Node."""

registered = []


class Skip(Exception):
    """A check can't run here; the text is the reason."""


def check(title, since=None, fails=None):
    """Registers a check.

    since is the first version of containerd, (major, minor), that has what it needs. fails is a pair:
    the first version with which every runtime fails, and the reason.
    """

    def register(function):
        first, reason = fails or ((1 << 30, 0), "")
        def run(node):
            if since and node.version < since:
                raise Skip(f"containerd {since[0]}.{since[1]} and later")
            function(node)

        run.title = title
        run.known = lambda version: reason if version >= first else ""
        run.__module__ = function.__module__
        registered.append(run)
        return function

    return register


def refused(call, *texts):
    """Fails unless the call fails with an error that contains these texts; returns the error."""
    try:
        call()
    except Exception as error:  # pylint: disable=broad-except
        said = error.details() if hasattr(error, "details") else str(error)
        for text in texts:
            assert text in said, f"no {text!r} in the error: {said}"
        return said
    raise AssertionError("the call did not fail")


def same(actual, expected, what=""):
    """Fails, and prints both, unless they are equal."""
    assert actual == expected, f"{what or 'seen'}: {actual!r}, expected {expected!r}"
