# A web application of one process, with what base Debian's perl has. One request at a time.
use strict;
use warnings;
use IO::Socket::UNIX;
use Socket qw(SOCK_STREAM);

my $stack = '/run/herd-stack';
my ($psql) = reverse sort glob '/usr/lib/postgresql/*/bin/psql';
$psql or die "no psql below /usr/lib/postgresql\n";
$| = 1;
$SIG{PIPE} = 'IGNORE';

# Counts one visit in redis; the count.
sub visit {
    my $redis = IO::Socket::UNIX->new(Peer => "$stack/redis/redis.sock", Type => SOCK_STREAM)
        or die "redis: $!\n";
    print $redis "*2\r\n\$4\r\nINCR\r\n\$6\r\nvisits\r\n";
    my $answer = <$redis> // die "redis: closed the connection\n";
    $answer =~ /^:(\d+)/ or die "redis: $answer";
    return $1;
}

sub greeting {
    my ($visit) = @_;
    my $query = "SELECT text FROM greetings WHERE id = least($visit - 1, 2)";
    open my $rows, '-|', $psql, '-XAtq', '-h', "$stack/postgres", '-d', 'postgres', '-c', $query
        or die "psql: $!\n";
    chomp(my $text = <$rows> // '');
    close $rows or die "PostgreSQL: psql exited with ", $? >> 8, "\n";
    return $text;
}

sub answer {
    my $body = eval { my $visit = visit(); greeting($visit) . ", visitor $visit.\n" };
    return ('200 OK', $body) if defined $body;
    print STDERR $@;
    return ('503 Service Unavailable', "not now: $@");
}

my $path = "$ENV{RUNTIME_DIRECTORY}/app.sock";
unlink $path;
umask 0;
my $server = IO::Socket::UNIX->new(Local => $path, Listen => 64, Type => SOCK_STREAM)
    or die "cannot listen on $path: $!\n";
print "listening on $path\n";

while (my $client = $server->accept) {
    eval {
        local $SIG{ALRM} = sub { die "too slow\n" };
        alarm 5;
        my $request = <$client>;
        while (my $line = <$client>) { last if $line =~ /^\r?$/ }
        if (defined $request) {
            my ($status, $body) = answer();
            print $client "HTTP/1.0 $status\r\nContent-Type: text/plain\r\nContent-Length: ", length $body,
                "\r\n\r\n", $body;
        }
        close $client;
    };
    alarm 0;
}
