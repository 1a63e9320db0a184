"""Summary arithmetic: buckets, latest values, totals, slot widths, forecasts. Pure."""
