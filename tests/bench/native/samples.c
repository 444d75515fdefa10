#define _GNU_SOURCE
#include "samples.h"

#include "clients.h"

#include <stdlib.h>
#include <string.h>

static uint32_t *samples; /* ns: up to 4 s */
static size_t count, space;

void samples_clear(void)
{
    count = 0;
}

void samples_add(int64_t latency_ns)
{
    if (count == space) {
        space = space ? space * 2 : 1 << 16;
        samples = realloc(samples, space * sizeof *samples);
        if (samples == NULL)
            fail("realloc", "no memory for samples");
    }
    samples[count++] = latency_ns < 0 ? 0 : latency_ns > UINT32_MAX ? UINT32_MAX : (uint32_t)latency_ns;
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

void samples_sort(void)
{
    qsort(samples, count, sizeof *samples, by_size);
}

double samples_us(double share)
{
    return count ? samples[(size_t)((double)(count - 1) * share)] / 1e3 : 0;
}

const char *value_of(const char *text, size_t length, const char *key)
{
    size_t key_length = strlen(key);
    const char *found = memmem(text, length, key, key_length);
    return found ? found + key_length : NULL;
}
