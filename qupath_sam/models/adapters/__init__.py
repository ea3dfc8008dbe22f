"""From pixels and prompts to what each network takes, and back."""
