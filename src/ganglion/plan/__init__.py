"""Model → Plan: lowering, layout, choice of variants, memory."""
