/* Looks names up with this C library's own resolver, and prints what each call says. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

int main(int count, char **names) {
    for (int i = 1; i < count; i++) {
        struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
        int code = getaddrinfo(names[i], "80", &wanted, &found);
        if (code) {
            printf("%s\n", gai_strerror(code));
            continue;
        }
        char text[64];
        struct sockaddr_in *address = (struct sockaddr_in *)found->ai_addr;
        printf("%s\n", inet_ntop(AF_INET, &address->sin_addr, text, sizeof text));
    }
    return 0;
}
