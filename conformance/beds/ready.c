/* Tells systemd that the service is ready: sd_notify(3) without a library, for root file systems that have none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int count, char **words)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    if (!path || count != 2 || strlen(path) >= sizeof to.sun_path) {
        fputs("usage: NOTIFY_SOCKET=PATH ready STATUS\n", stderr);
        return 2;
    }
    strcpy(to.sun_path, path);
    char text[256];
    int length = snprintf(text, sizeof text, "READY=1\nSTATUS=%s", words[1]);
    int out = socket(AF_UNIX, SOCK_DGRAM, 0);
    if (sendto(out, text, length, 0, (struct sockaddr *)&to, sizeof to) != length) {
        perror("ready: sendto");
        return 1;
    }
    return 0;
}
