"""Numbers on the command line: what is out of range is wrong usage, told in plain words."""

from argparse import ArgumentTypeError


def port(text: str) -> int:
    """A port to listen on; 0 stands for any free one."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 5 or int(text) > 65535:
        raise ArgumentTypeError(f"{text}: a port is a number from 0 to 65535 (0: any free one)")
    return int(text)


def positive(text: str) -> float:
    """A number above zero."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text}: write a number above 0, such as 1 or 2.5")
    return number


def count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text)):
        raise ArgumentTypeError(f"{text}: write a whole number from 1, such as 100")
    return int(text)
