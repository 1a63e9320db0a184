"""What is asked for and is not there."""


class Unknown(LookupError):  # noqa: N818 - a plain answer to a plain question
    """There is no such VEN, load, event or command; in words."""


def no_ven(ven_id: str) -> str:
    return f"There is no VEN {ven_id!r}."


def no_load(ven_id: str, load_id: str) -> str:
    return f"VEN {ven_id!r} has no load {load_id!r}."
