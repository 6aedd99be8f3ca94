"""The rig itself: what tests rely on."""
