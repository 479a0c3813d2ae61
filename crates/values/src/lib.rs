//! Values that cannot be wrong: division codes, identity numbers, credit codes, names, money, areas, dates, times.
