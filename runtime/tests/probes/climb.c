/*
 * Climbs out of a root directory as only a process that may change it can (chroot(2), NOTES), and tells whether the
 * file that is named is there: "reached" or "not reached".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	int outside = open("/", O_RDONLY | O_DIRECTORY);
	mkdir("/below", 0755);
	if (argc != 2 || outside < 0 || chroot("/below") != 0 || fchdir(outside) != 0) {
		perror("climb");
		return 1;
	}
	for (int step = 0; step < 64; step++)
		if (chdir("..") != 0)
			break;
	if (chroot(".") != 0) {
		perror("climb");
		return 1;
	}
	puts(access(argv[1], F_OK) == 0 ? "reached" : "not reached");
	return 0;
}
