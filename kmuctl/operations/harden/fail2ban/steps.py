def part(): pass
