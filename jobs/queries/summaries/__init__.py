"""SQL of summaries: what is pending, merging, totals, slot widths, forecasts."""
