"""Policies that other libraries have learned on Surefoot's tasks. Workstation only."""
