"""Assignments for a class: student notebooks, and grades that a submission cannot forge."""
