"""Model → Artifact: plan, emit, compile, check against the reference."""
