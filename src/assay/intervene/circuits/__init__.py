"""The engine of circuits: every edge carries its writer's own value or a fill."""
