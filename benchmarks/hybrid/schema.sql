-- The tables that are searched. Attributes are indexed as somebody who filters by them would.
CREATE TABLE branches (
    id int PRIMARY KEY,
    region text NOT NULL
);

CREATE TABLE people (
    id bigint PRIMARY KEY,
    feature vector(192) NOT NULL,
    city int NOT NULL,
    age int NOT NULL,
    branch int NOT NULL,
    cell2 int NOT NULL,
    cell5 int NOT NULL,
    cell10 int NOT NULL,
    cell20 int NOT NULL,
    cell50 int NOT NULL,
    cell100 int NOT NULL,
    cell333 int NOT NULL,
    cell1000 int NOT NULL,
    cell10000 int NOT NULL,
    tags int[] NOT NULL
);
