"""Decodes JSON bodies to structs, or raises an error that names the field and the fix."""

import difflib
import re
from typing import Literal, TypeVar, get_args, get_origin

import falcon
import msgspec
from falcon import Request
from msgspec import Struct, structs

from schemas import openadr
from schemas.api.fields import PATTERNS, Ignored
from serving.http.parameters.media import CSV, JSON
from serving.policy import MAX_BODY_BYTES

EXACT_BELOW = 2**53
SIMILAR = 0.6
"""Similarity of two keys, up to 1, from which one is suggested for the other."""

BLOCK_BYTES = 65_536
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
AT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?", re.DOTALL)
NAMED = re.compile(r"Object (?P<how>missing required|contains unknown) field `(?P<name>.*)`")
MATCHING = re.compile(r"Expected `.*` matching regex (?P<pattern>'.*')", re.DOTALL)
WORDS = {repr(pattern): words for pattern, words in {**PATTERNS, **openadr.PATTERNS}.items()}
JSON_WORDS = {"int": "whole number", "float": "number", "str": "string", "bool": "boolean"}

Shape = TypeVar("Shape", bound=Struct)


def read_body(request: Request, shape: type[Shape]) -> Shape:
    """Decode the body of a request to a struct.

    Raises:
        falcon.HTTPUnsupportedMediaType: it is not JSON, or is compressed.
        falcon.HTTPContentTooLarge: it is longer than the settings allow.
        falcon.HTTPBadRequest: it violates the contract.
    """
    _require_media(request, JSON)
    body = read_bytes(request, MAX_BODY_BYTES)
    if NUL.search(body):
        raise _bad("The body must not have the character U+0000.")
    try:
        return _decode(body, shape)
    except msgspec.ValidationError as error:
        raise _bad(_advice(str(error), shape)) from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or brackets without end
        raise _bad(f"The body must be JSON: {error}.") from None


def _decode(body: bytes, shape: type[Shape]) -> Shape:
    """Decode a body; `5.0` counts as a whole number, as in JSON."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        if "got `float`" not in str(error):
            raise
    return msgspec.convert(_with_whole_numbers(msgspec.json.decode(body)), shape)


def _with_whole_numbers(value: object) -> object:
    if isinstance(value, dict):
        return {name: _with_whole_numbers(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT_BELOW:
        return int(value)
    return value


def read_bytes(request: Request, max_bytes: int) -> bytes:
    """Return the bytes of a body, read once for both the audit log and the responder.

    Raises:
        falcon.HTTPContentTooLarge: it is longer than `max_bytes`.
    """
    if not hasattr(request.context, "body"):
        request.context.body = _bytes_of(request, max_bytes)
    body: bytes = request.context.body
    return body


def read_csv(request: Request, max_bytes: int) -> str:
    """Return the body of a request as the text of a CSV file.

    Raises:
        falcon.HTTPUnsupportedMediaType: it is not CSV, or is compressed.
        falcon.HTTPContentTooLarge: it is longer than `max_bytes`.
        falcon.HTTPBadRequest: it is not in UTF-8.
    """
    _require_media(request, CSV)
    try:
        return read_bytes(request, max_bytes).decode()
    except UnicodeDecodeError as error:
        raise _bad(f"The file must be in UTF-8: {error}.") from None


def _require_media(request: Request, media_type: str) -> None:
    media = (request.content_type or "").partition(";")[0].strip().lower()
    if media != media_type:
        raise falcon.HTTPUnsupportedMediaType(
            description=f"Send the body with Content-Type: {media_type}, not {media or 'without a type'}."
        )
    if request.get_header("Content-Encoding", default="identity").lower() != "identity":
        raise falcon.HTTPUnsupportedMediaType(description="Send the body as it is, without Content-Encoding.")


def _bytes_of(request: Request, max_bytes: int) -> bytes:
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    # A body in chunks has no length; only a server that ends the stream itself lets us read one.
    is_chunked = request.content_length is None and request.env.get("wsgi.input_terminated", False)
    stream = request.stream if is_chunked else request.bounded_stream
    body = bytearray()
    while block := stream.read(BLOCK_BYTES):
        body += block
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    if len(body) < (request.content_length or 0):
        raise _bad("The body ended before its Content-Length.")
    return bytes(body)


def _too_large(max_bytes: int) -> falcon.HTTPContentTooLarge:
    return falcon.HTTPContentTooLarge(description=f"The body must have at most {max_bytes} bytes.")


def _advice(message: str, shape: type[Struct]) -> str:
    """Return an error of msgspec with the name of the field, and JSON's names of types."""
    match = AT.fullmatch(message)
    what, where = (match["what"], match["where"] or "") if match else (message, "")
    if named := NAMED.fullmatch(what):
        field = f"{where}.{named['name']}".lstrip(".")
        return f"{field} is missing." if named["how"] == "missing required" else _unknown(field, where, shape)
    if what.startswith("Invalid enum value") and (choices := _choices(where, shape)):
        return f"{where} must be one of {', '.join(choices)}."
    if pattern := MATCHING.fullmatch(what):
        return f"{where} must be {WORDS.get(pattern['pattern'], 'of another form')}."
    what = re.sub(r"`([^`]*)`", lambda quoted: _in_words(quoted[1]), what)
    if not match or match["where"] is None:
        return f"The body is wrong: {what}." if what.startswith("Expected") else f"{what}."
    return f"{where}: {what[0].lower()}{what[1:]}."


def _in_words(kinds: str) -> str:
    return " or ".join(JSON_WORDS.get(kind, kind) for kind in kinds.split(" | "))


def _unknown(field: str, where: str, shape: type[Struct]) -> str:
    if where:
        return f"{field} is unknown here."
    names = [each.encode_name for each in structs.fields(shape)]
    writable = [each.encode_name for each in structs.fields(shape) if each.type is not Ignored]
    nearest = difflib.get_close_matches(field, names, n=1, cutoff=SIMILAR)
    hint = f"did you mean {nearest[0]}? There" if nearest else "there"
    return f"{field} is unknown; {hint} are {', '.join(writable)}."


def _choices(where: str, shape: type[Struct]) -> list[str]:
    """Return the values of a top-level field, if it is an enumeration."""
    for field in structs.fields(shape):
        if field.encode_name == where:
            kinds = (field.type, *get_args(field.type))
            return [str(word) for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
    return []


def _bad(detail: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(title="Bad request", description=detail)
