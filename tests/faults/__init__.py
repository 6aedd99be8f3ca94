"""Everything that may fail, made to fail under visitors."""
