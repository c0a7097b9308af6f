/*
 * Does what its arguments say, OPERATION or OPERATION:ARGUMENT or OPERATION:ARGUMENT:ARGUMENT, and prints each of
 * them with the errno that it failed with, 0 for none.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int opened(const char *path, int flags)
{
	int fd = open(path, flags, 0644);
	return fd < 0 ? -1 : close(fd);
}

static int list(const char *path)
{
	DIR *directory = opendir(path);
	return directory ? closedir(directory) : -1;
}

static int execute(const char *path)
{
	int ends[2], error = 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		char *arguments[] = {"true", NULL};
		execv(path, arguments);
		error = errno;
		if (write(ends[1], &error, sizeof error) < 0)
			_exit(2);
		_exit(1);
	}
	close(ends[1]);
	if (read(ends[0], &error, sizeof error) < 0)
		error = errno;
	close(ends[0]);
	waitpid(pid, NULL, 0);
	errno = error;
	return error ? -1 : 0;
}

static int unix_address(const char *path, int abstract, int (*call)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strncpy(address.sun_path + abstract, path, sizeof address.sun_path - 2);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	return call(fd, (struct sockaddr *)&address,
		    offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path));
}

static int tcp(const char *port, int (*call)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return call(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address);
}

static int device_ioctl(const char *path)
{
	struct termios termios;
	int fd = open(path, O_RDWR);
	return fd < 0 ? -1 : ioctl(fd, TCGETS, &termios);
}

static int run(const char *operation, const char *a, const char *b)
{
#define IS(name) (strcmp(operation, name) == 0)
	if (IS("read")) return opened(a, O_RDONLY);
	if (IS("write")) return opened(a, O_WRONLY);
	if (IS("create")) return opened(a, O_WRONLY | O_CREAT | O_EXCL);
	if (IS("list")) return list(a);
	if (IS("exec")) return execute(a);
	if (IS("truncate")) return truncate(a, 0);
	if (IS("unlink")) return unlink(a);
	if (IS("rmdir")) return rmdir(a);
	if (IS("mkdir")) return mkdir(a, 0755);
	if (IS("symlink")) return symlink("target", a);
	if (IS("fifo")) return mkfifo(a, 0644);
	if (IS("char")) return mknod(a, S_IFCHR | 0644, 0x103);
	if (IS("block")) return mknod(a, S_IFBLK | 0644, 0x700);
	if (IS("socket")) return unix_address(a, 0, bind);
	if (IS("rename")) return rename(a, b);
	if (IS("link")) return link(a, b);
	if (IS("ioctl")) return device_ioctl(a);
	if (IS("bind")) return tcp(a, bind);
	if (IS("connect")) return tcp(a, connect);
	if (IS("abstract")) return unix_address(a, 1, connect);
	if (IS("signal")) return kill(atoi(a), 0);
#undef IS
	errno = ENOSYS;
	return -1;
}

int main(int count, char **arguments)
{
	for (int index = 1; index < count; index++) {
		char *text = strdup(arguments[index]);
		if (strcmp(text, "fds") == 0) {
			for (int fd = 3; fd < 1024; fd++)
				if (fcntl(fd, F_GETFD) >= 0)
					printf("descriptor %d\n", fd);
			continue;
		}
		if (strcmp(text, "home") == 0) {
			printf("home %s\n", getenv("HOME"));
			continue;
		}
		char *operation = strtok(text, ":"), *a = strtok(NULL, ":"), *b = strtok(NULL, ":");
		int error = run(operation, a, b) < 0 ? errno : 0;
		printf("%s %d\n", arguments[index], error);
	}
	return 0;
}
