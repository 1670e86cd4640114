//! Every seed that once found a defect, as a test with the defect's name.
