"""Small operations of a decoder in C++, for CPUs: built where a compiler is, else done without."""
