// The container's program: ends at once, with a given status, or waits to be killed.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
	if (argc > 1 && strcmp(argv[1], "pause") == 0)
		for (;;)
			pause();
	return argc > 1 ? atoi(argv[1]) : 0;
}
