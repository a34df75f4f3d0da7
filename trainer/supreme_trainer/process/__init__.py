"""Trainers as processes: how they start, in a pod or here, what they tell, and how they end."""
