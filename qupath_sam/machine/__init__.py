"""The computer this runs on: its files, its threads, and what a report says of it."""
