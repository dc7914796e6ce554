//! `examples/network`, as it is.

use crate::fixture::{Herd, Net};
use crate::needs;
use crate::network_reach::lacks_something;

#[test]
fn the_network_example_does_what_it_says() {
    if lacks_something() || !needs::program("perl") || !needs::program("curl") {
        return;
    }
    let net = Net::start(Herd::builder().example("network").foreground());
    let herd = &net.herd;
    assert_eq!(herd.wait_out("web", 1), ["listening"]);
    assert_eq!(herd.wait_out("data", 1), ["listening"]);
    let back = herd.status("web")["addresses"][1]["address"].clone();
    let page = net.host.get("http://127.0.0.1:8080/");
    assert_eq!(page, format!("42 things, for {}\n", back.as_str().unwrap()));
    let url = "http://198.51.100.1:8080/";
    let outside = net.outside(&["curl", "--silent", "--max-time", "20", url]);
    assert_eq!(outside.stdout, page);
    assert_eq!(herd.wait_out("jobs", 1), ["web is out of reach"]);
    let list = herd.ok(&["network", "list"]);
    assert!(list.contains("where the data is"), "{list}");
    assert!(list.contains("default  2 boxes  herd-default"), "{list}");
}
