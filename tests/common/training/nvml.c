/* A libnvidia-ml.so.1 whose GPUs are the lines of the file that FAKE_NVML names:

     init CODE                                          what nvmlInit returns, 0 for success
     gpu FAULT UUID MAJOR MINOR TOTAL USED BUSY NAME    FAULT: what getting its handle returns
     mig FAULT UUID TOTAL USED NAME                     a slice of the GPU above, which has MIG on

   Memory is in bytes, BUSY in percent. What is below 0 is not supported. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK, INVALID_ARGUMENT = 2, NOT_SUPPORTED, NOT_FOUND = 6, DRIVER_NOT_LOADED = 9, MOST = 32 };

typedef struct device {
    int fault, major, minor, busy, parent, slices;
    long long total, used;
    char uuid[96], name[96];
} device;

static device devices[MOST];
static int count;

static int read_devices(void) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[512];
    int result = OK, last = -1;
    if (!file) return DRIVER_NOT_LOADED;
    count = 0;
    while (count < MOST && fgets(line, sizeof line, file)) {
        device *d = &devices[count];
        memset(d, 0, sizeof *d);
        d->parent = -1;
        if (sscanf(line, "init %d", &result) == 1) continue;
        if (sscanf(line, "gpu %d %95s %d %d %lld %lld %d %95[^\n]", &d->fault, d->uuid, &d->major, &d->minor, &d->total,
                   &d->used, &d->busy, d->name) == 8) {
            last = count++;
        } else if (sscanf(line, "mig %d %95s %lld %lld %95[^\n]", &d->fault, d->uuid, &d->total, &d->used,
                          d->name) == 5) {
            d->busy = d->major = -1;
            d->parent = last;
            devices[last].slices++;
            count++;
        }
    }
    fclose(file);
    return result;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return read_devices(); }
int nvmlInit(void) { return read_devices(); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "a code that pynvml does not know"; }

static int nth(int parent, unsigned index, device **found) {
    for (int i = 0; i < count; i++)
        if (devices[i].parent == parent && index-- == 0) {
            *found = &devices[i];
            return devices[i].fault;
        }
    return parent < 0 ? INVALID_ARGUMENT : NOT_FOUND;
}

int nvmlDeviceGetCount_v2(unsigned *result) {
    *result = 0;
    for (int i = 0; i < count; i++) *result += devices[i].parent < 0;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **found) { return nth(-1, index, found); }

int nvmlDeviceGetHandleByUUID(const char *uuid, device **found) {
    for (int i = 0; i < count; i++)
        if (!strcmp(devices[i].uuid, uuid)) {
            *found = &devices[i];
            return devices[i].fault;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(device *d, char *text, unsigned size) { snprintf(text, size, "%s", d->uuid); return OK; }
int nvmlDeviceGetName(device *d, char *text, unsigned size) { snprintf(text, size, "%s", d->name); return OK; }

int nvmlDeviceGetCudaComputeCapability(device *d, int *major, int *minor) {
    *major = d->major;
    *minor = d->minor;
    return d->major < 0 ? NOT_SUPPORTED : OK;
}

int nvmlDeviceGetMemoryInfo(device *d, unsigned long long *total_free_used) {
    if (d->total < 0) return NOT_SUPPORTED;
    total_free_used[0] = d->total;
    total_free_used[1] = d->total - d->used;
    total_free_used[2] = d->used;
    return OK;
}

int nvmlDeviceGetUtilizationRates(device *d, unsigned *gpu_memory) {
    if (d->busy < 0 || d->slices) return NOT_SUPPORTED;
    gpu_memory[0] = d->busy;
    gpu_memory[1] = 0;
    return OK;
}

int nvmlDeviceGetMigMode(device *d, unsigned *current, unsigned *pending) {
    *current = *pending = d->slices > 0;
    return d->major < 8 ? NOT_SUPPORTED : OK;
}

int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned *result) { (void)d; *result = 7; return OK; }

int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned index, device **found) {
    return nth((int)(d - devices), index, found);
}
