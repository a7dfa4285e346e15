SELECT state FROM en57_state('counted', '{"tags": ["scope"]}');
