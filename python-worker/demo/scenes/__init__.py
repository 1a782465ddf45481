"""Pictures of coloured shapes: their contents, captions and drawing.

Shared by the demo model's trainer and its scorer. Needs numpy only.
"""
