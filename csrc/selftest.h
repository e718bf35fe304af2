// What the files of the self-test share.
#pragma once
#include <cstdint>
#include <string>

namespace thinned {

uint64_t random_bits();
// Says what differs, and ends the program.
void expect(bool equal, const std::string &what);

// Trains by the instruction set `name` and in double precision; the number of cases.
int compare_cohorts(const char *name);

}  // namespace thinned
