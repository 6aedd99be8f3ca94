"""What leaves the house: the wheel with its bill of materials, the site with its pictures. And a search for holes."""
