"""What makes a lab's objects come true: scheduler, controllers, the life of nodes; all clients of the API."""
