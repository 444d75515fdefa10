/* Latencies and the text they are read from. */
#ifndef TIDEGATE_BENCH_SAMPLES_H
#define TIDEGATE_BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

void samples_clear(void);
void samples_add(int64_t latency_ns);

/* To be called between the last `samples_add` and the first `samples_us`. */
void samples_sort(void);

/* The percentile for a share of 0 to 1 in microseconds; 0 without samples. */
double samples_us(double share);

/* Find `key` (given with its colon and opening quote) and return what follows it, or NULL. */
const char *value_of(const char *text, size_t length, const char *key);

#endif
