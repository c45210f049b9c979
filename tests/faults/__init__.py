"""Real processes under real faults: what every one of them saw is recorded, and checked afterwards."""
