"""What a workstation does with policies and logs: export, reopen, replay, judge. May need torch."""
