"""Totals of the network and of groups, and by type of load."""

from typing import Annotated

from msgspec import Meta

from schemas.api.fields import Count, Shape


class NetworkStats(Shape, frozen=True):
    """The current totals of the network. Unknown numbers are null."""

    ven_count: Annotated[Count, Meta(description="Registered VENs.")]
    controllable_power_kw: Annotated[float, Meta(description="What could be shed now.")]
    potential_load_reduction_kw: Annotated[
        float, Meta(description="What could be shed, were all online and enabled.")
    ]
    household_usage_kw: Annotated[
        float, Meta(description="The latest usage of all VENs; exports count negative.")
    ]
    online_vens: Annotated[Count, Meta(description="VENs whose latest status is `online`.")]
    current_load_reduction_kw: Annotated[float, Meta(description="What all VENs shed now.")]
    average_house_power: Annotated[float | None, Meta(description="kW, over the VENs that have reported.")]
    total_house_power_today: Annotated[
        float | None, Meta(description="kWh since midnight at the site, `TIME_ZONE`.")
    ]
    network_efficiency: Annotated[
        float | None, Meta(description="Percent of the requested reduction that is delivered.")
    ]


class LoadTypeStats(Shape, frozen=True):
    """Totals over the latest values of all loads of a type."""

    type: Annotated[str, Meta(description="`unknown` for loads that have none.", examples=["hvac"])]
    total_capacity_kw: float
    total_shed_capability_kw: float
    current_usage_kw: Annotated[float, Meta(ge=0, description="What loads draw; generation adds nothing.")]
