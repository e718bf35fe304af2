// What cohort_bindings.cpp adds to the module.
#pragma once
#include <nanobind/nanobind.h>

void register_cohort(nanobind::module_ &m);
