"""What is planned: grids, structures, series, beams, plans and their dose influence."""
