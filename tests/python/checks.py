"""One line a check on stdout: `held` or `FAILED`, its name, and what is wrong. What goes wrong in one keeps no other from being run."""
import contextlib
import sys
import traceback


class Checks:
    def __init__(self):
        self.failed = 0

    @contextlib.contextmanager
    def that(self, name):
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            self.failed += 1
            print(f"FAILED   {name}: {type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else 'says nothing'}", flush=True)
        else:
            print(f"held     {name}", flush=True)

    def end(self):
        """Leaves the program: 1 where a check failed."""
        sys.exit(1 if self.failed else 0)


def same(found, wanted):
    if found != wanted:
        raise AssertionError(f"{found!r:.200} in place of {wanted!r:.200}")


def holds(truth, words):
    if not truth:
        raise AssertionError(words)
    return truth


@contextlib.contextmanager
def refused(kind, said):
    """What is done within must be refused by an error of this kind, of which `said(error)` is true."""
    try:
        yield
    except kind as error:
        if not said(error):
            raise
    else:
        raise AssertionError("it was answered")
