-- Indexes on what is filtered by, made when the rows are there.
CREATE INDEX branches_region ON branches (region);
CREATE INDEX people_city ON people (city);
CREATE INDEX people_age ON people (age);
CREATE INDEX people_branch ON people (branch);
CREATE INDEX people_tags ON people USING gin (tags) WITH (fastupdate = off);
CREATE INDEX people_cell2 ON people (cell2);
CREATE INDEX people_cell5 ON people (cell5);
CREATE INDEX people_cell10 ON people (cell10);
CREATE INDEX people_cell20 ON people (cell20);
CREATE INDEX people_cell50 ON people (cell50);
CREATE INDEX people_cell100 ON people (cell100);
CREATE INDEX people_cell333 ON people (cell333);
CREATE INDEX people_cell1000 ON people (cell1000);
CREATE INDEX people_cell10000 ON people (cell10000);
