"""What befalls whole commands: kills, full disks, writers at the same time, folders that would run code. Each campaign
is a reader, whose case is one misfortune; what stands afterwards must be whole."""
