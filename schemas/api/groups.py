"""Groups of VENs."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from schemas.api.fields import Attributes, GroupId, Ignored, Instant, Name, Shape, VenId

GroupVenIds = Annotated[list[VenId], Meta(max_length=100_000, description="Members by id.")]
GroupLoadTypes = Annotated[Attributes, Meta(description="Members have a load of any of these types.")]
GroupRegions = Annotated[Attributes, Meta(description="Members are in any of these regions.")]
GroupTags = Annotated[Attributes, Meta(description="Members have each of these tags.")]


class Group(Shape, frozen=True, kw_only=True):
    """A group of VENs: those that it names, and those that match all its attributes."""

    id: str
    name: Annotated[str, Meta(description="Its id without one.")]
    ven_ids: GroupVenIds
    load_types: GroupLoadTypes
    regions: GroupRegions
    tags: GroupTags
    created_at: Instant


class GroupCreate(Shape, frozen=True, kw_only=True):
    """A new group. Without attributes it has only the VENs that it names."""

    name: Name
    id: Annotated[GroupId | None, Meta(description="Without it, one is generated.")] = None
    ven_ids: GroupVenIds | None = None
    load_types: GroupLoadTypes | None = None
    regions: GroupRegions | None = None
    tags: GroupTags | None = None
    created_at: Ignored = UNSET


class GroupUpdate(Shape, frozen=True, kw_only=True):
    """Changes of a group. Missing fields, and those that equal GET's, stay unchanged; null empties."""

    id: Ignored = UNSET
    name: Name | UnsetType | None = UNSET
    ven_ids: GroupVenIds | UnsetType | None = UNSET
    load_types: GroupLoadTypes | UnsetType | None = UNSET
    regions: GroupRegions | UnsetType | None = UNSET
    tags: GroupTags | UnsetType | None = UNSET
    created_at: Ignored = UNSET
